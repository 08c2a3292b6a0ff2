"""Periodic tasks: what is declared, and the scheduler that fires it, one thread of each worker."""
