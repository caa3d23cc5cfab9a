"""Is a number odd? The smallest honest plugin: one task, one adapter, no weights."""
