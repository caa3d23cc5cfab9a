"""The speculative family: what a student is worth as its teacher's draft model."""
