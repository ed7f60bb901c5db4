"""People who sign in: their e-mail address and password, invitations, sessions. What they may do is waypost.access's."""
