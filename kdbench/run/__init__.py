"""From a suite to published rows: plan, work orders, workers, publication."""
