"""The read models. Each belongs to one subscription, which alone writes it; a rebuild empties it."""

from typing import ClassVar

from django.db import models

from orders.values import MAX_TEXT_LENGTH, MONEY_DECIMAL_PLACES, MONEY_MAX_DIGITS

# Sums of orders have six digits more than one order.
SUM_MAX_DIGITS = MONEY_MAX_DIGITS + 6


class OrderSummary(models.Model):
    """One order as it stands. Written by the subscription ``orders``."""

    class Status(models.TextChoices):
        CREATED = "created"
        SHIPPED = "shipped"
        DELIVERED = "delivered"
        CANCELLED = "cancelled"

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.CharField(max_length=MAX_TEXT_LENGTH)
    total = models.DecimalField(max_digits=MONEY_MAX_DIGITS, decimal_places=MONEY_DECIMAL_PLACES)
    status = models.CharField(max_length=20, choices=Status)
    tracking_number = models.CharField(max_length=MAX_TEXT_LENGTH, null=True, blank=True)  # noqa: DJ001 - absent
    version = models.IntegerField()
    # Of the order's last event: what ?wait_for= compares with.
    position = models.BigIntegerField()
    # Of the order's first event: when it happened, and the list's order, which must not change under a cursor.
    created_at = models.DateTimeField()
    created_position = models.BigIntegerField(unique=True)

    class Meta:
        verbose_name_plural = "order summaries"
        ordering = ("-created_position",)
        indexes: ClassVar = [
            models.Index(fields=["status", "-created_position"], name="ordersummary_status_newest"),
            models.Index(fields=["customer_id", "-created_position"], name="ordersummary_customer_newest"),
        ]

    def __str__(self) -> str:
        return f"Order {self.order_id} ({self.status})"


class CustomerSummary(models.Model):
    """What a customer has ordered and not cancelled. Written by the subscription ``customers``."""

    customer_id = models.CharField(max_length=MAX_TEXT_LENGTH, primary_key=True)
    order_count = models.IntegerField(default=0)
    total_spent = models.DecimalField(
        max_digits=SUM_MAX_DIGITS, decimal_places=MONEY_DECIMAL_PLACES, default=0
    )

    class Meta:
        verbose_name_plural = "customer summaries"

    def __str__(self) -> str:
        return f"Customer {self.customer_id}"


class CustomerOrder(models.Model):
    """Whose an order is and what it adds: ``OrderCancelled`` says neither. Private to the subscription ``customers``."""

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.CharField(max_length=MAX_TEXT_LENGTH)
    total = models.DecimalField(max_digits=MONEY_MAX_DIGITS, decimal_places=MONEY_DECIMAL_PLACES)

    def __str__(self) -> str:
        return f"Order {self.order_id} of {self.customer_id}"
