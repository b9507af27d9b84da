"""The key holder: has the secret key of what providers encrypted, sees noised sums only, and adds noise of its own.

It is run by other people than the service, on another machine; what it imports of the service is mathematics (privacy) and core.
"""
