"""What people see of compute nodes: rows of control.node, read and drained."""
