"""What a projection refuses to pass over in silence."""

from uuid import UUID

from eventsource_app.exceptions import EventSourceError


class MissingOrderError(EventSourceError):
    """An event is about an order whose creation the read model never saw."""

    def __init__(self, read_model: str, order_id: UUID, position: int) -> None:
        super().__init__(
            f"The event at position {position} is about order {order_id}, which {read_model} does not have; "
            "the subscription has not followed the log from its beginning: rebuild it."
        )
        self.read_model, self.order_id, self.position = read_model, order_id, position


class UnknownCustomerError(EventSourceError):
    """No order of the customer has reached the read model."""

    def __init__(self, customer_id: str) -> None:
        super().__init__(f"There is no customer {customer_id!r}; a customer exists from the first order on.")
        self.customer_id = customer_id
