"""The native API, `/v1` (native contract): translation onto operations and the ledger. No rules of its own."""
