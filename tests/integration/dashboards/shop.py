"""The app of the end-to-end test: orders that fail, invoices, clicks in batches, a parcel that halts, delays, a clock.

It runs in `elsa worker`; the names of its topics come by environment.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import elsa

app = elsa.App(os.environ["SHOP_NAME"], default_partitions=2)


class Unavailable(Exception):
    """Something that a handler needs is away."""


@app.handler(os.environ["SHOP_ORDERS"], retry=elsa.Retry(max_attempts=3, base=0.1, on=(Unavailable,)), concurrency=4)
def bill(order: dict[str, int], ctx: elsa.Context) -> None:
    """Bill an order; some never succeed, some do at the second attempt."""
    time.sleep(0.01 + (order["id"] % 7) / 100)  # work that takes its time
    if order["id"] % 41 == 7:
        raise elsa.Reject("nobody of that name")
    if order["id"] % 53 == 3 or (order["id"] % 11 == 1 and ctx.attempt == 1):
        raise Unavailable
    ctx.send(os.environ["SHOP_INVOICES"], order, key=str(order["id"]))


@app.handler(os.environ["SHOP_INVOICES"])
async def announce(invoice: dict[str, int]) -> None:
    """Tell the customer, and remind him later."""
    await asyncio.sleep(0.005)
    if invoice["id"] % 5 == 0:
        await remind.options(delay=timedelta(seconds=1.5)).asend(invoice["id"])


@app.handler(os.environ["SHOP_CLICKS"], batch=50)
def count(clicks: list[dict[str, int]]) -> None:
    """Count clicks."""
    time.sleep(0.002 * len(clicks))


@app.handler(os.environ["SHOP_RETURNS"], retry=elsa.Retry(max_attempts=2, base=0.1), on_exhausted="stop")
def take_back(parcel: dict[str, int], ctx: elsa.Context) -> None:
    """Take a parcel back, with a label that its topic is too narrow for: its partition halts, the mover gives it up."""
    app.send(os.environ["SHOP_LABELS"], b"x" * 5_000, delay=1)
    ctx.send(os.environ["SHOP_LABELS"], b"x" * 5_000, key=str(parcel["id"]))


@app.handler(os.environ["SHOP_OFFERS"], group=os.environ["SHOP_NAME"] + ".offers")
def offer(body: bytes) -> None:
    """Never called: its topic is empty, and deleted while it waits."""


@app.task
def remind(order: int) -> None:
    """Remind of an order."""
    time.sleep(order % 3 / 1000)


@app.every(1, name="tidy")
@app.task
def tidy() -> None:
    """What is done by the clock."""
