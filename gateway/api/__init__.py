"""Floor 2: the control plane, one router a noun."""
