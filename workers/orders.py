"""Orders become invoices, invoices become mails: async handlers, typed bodies, sends, retries and a task.

    elsa worker workers.orders:app
    elsa produce orders '{"id": 1, "customer": "ann", "amount": 80}' --key ann
    elsa fetch invoices --follow

Order 13 shows a retry, an amount below zero a dead letter: `elsa fetch orders.billing.dlq`.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

import elsa

app = elsa.App("shop")


class Order(Struct):
    """What the shop sends."""

    id: int
    customer: str
    amount: float


class Invoice(Struct):
    """What billing sends."""

    order: int
    customer: str
    total: float
    payment: str


class PaymentUnavailable(Exception):
    """The payment service did not answer."""


async def charge(order: Order, attempt: int) -> str:
    """Stands in for a payment service that takes its time, and is away when order 13 comes first."""
    await asyncio.sleep(0.01)
    if order.id == 13 and attempt == 1:
        raise PaymentUnavailable
    return f"payment-{order.id}"


@app.handler("orders", group="billing", retry=elsa.Retry(max_attempts=5, base=0.5, on=(PaymentUnavailable,)))
async def bill(order: Order, ctx: elsa.Context) -> None:
    """Charge an order and send its invoice; the order is finished when Kafka has confirmed the invoice."""
    if order.amount <= 0:
        raise elsa.Reject(f"order {order.id} has the amount {order.amount:g}")
    payment = await charge(order, ctx.attempt)
    await ctx.send("invoices", Invoice(order.id, order.customer, order.amount * 1.25, payment), key=order.customer)


@app.handler("invoices", group="mailing")
async def announce(invoice: Invoice) -> None:
    """Have a mail sent by whoever works on the task's topic."""
    await mail.options(key=invoice.customer).asend(invoice.customer, order=invoice.order, total=invoice.total)


@app.task(topic="mails")
def mail(customer: str, *, order: int, total: float) -> None:
    """Stands in for a mail server."""
    print(f"to {customer}: your order {order}, {total:.2f} in all", flush=True)
