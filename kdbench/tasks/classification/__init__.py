"""The classification family: teacher and student classifiers on the same labelled images."""
