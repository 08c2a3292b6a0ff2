"""Commands to running workers and their answers (`{app}.control`), and how each of them is (`{app}.status`)."""
