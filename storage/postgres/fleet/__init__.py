"""What the relays keep and look up about nodes, credentials and orders. The jobs themselves are the ledger's."""
