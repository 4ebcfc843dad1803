"""What can be wrong with an order. All are ``ValueError`` too, so that a caller may catch what it knows."""

from uuid import UUID

from eventsource_app.exceptions import EventSourceError


class OrderError(EventSourceError, ValueError):
    """Base of the refusals of an order."""


class InvalidOrderError(OrderError):
    """A value that no order may have; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class OrderAlreadyExistsError(OrderError):
    """The id of a new order is taken."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__("Order already exists")
        self.order_id = order_id


class OrderStateError(OrderError):
    """The order's status forbids the verb, e.g. shipping a cancelled order."""

    def __init__(self, verb: str, order_id: UUID, status: str) -> None:
        super().__init__(f"Cannot {verb} order in current state")
        self.verb, self.order_id, self.status = verb, order_id, status
