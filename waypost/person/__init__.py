"""People who sign in: addresses, passwords, invitations, sessions. What they may do is waypost.access's to say."""
