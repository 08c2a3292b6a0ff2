"""Consumer groups seen from outside, whether their workers live or not: `elsa monitor`, `elsa lag`, `elsa top`."""
