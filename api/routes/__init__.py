"""The routes of API v1: each reads the request, asks one room, and renders the answer."""
