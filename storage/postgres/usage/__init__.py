"""Usage events, the sums of meters, and following the facts that they are sums of."""
