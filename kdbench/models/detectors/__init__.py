"""Object detectors that speak COCO's classes, for GenEval and for nothing that imports them by accident."""
