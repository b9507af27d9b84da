"""The edge: HTTP, authentication, wiring, the server's command line. The only room that knows HTTP."""
