"""Delayed messages: the mover that lets them go when they are due, and what cancels them."""
