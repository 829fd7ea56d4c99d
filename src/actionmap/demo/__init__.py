"""The whole on one machine: the embedded stack, the demo with its sample and its own receiver, and `dev`."""
