"""The HTTP edge: `/v1` and `/api`. It translates requests onto operations, the ledger and the jobs machinery.

It never imports a function, an ORM or a cloud SDK (decision 35), and holds no state that another gateway would miss.
"""
