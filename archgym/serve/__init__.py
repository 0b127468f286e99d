"""A task as an HTTP service: agents in any language, with the ledger on the server's side.

    POST /sessions/{id}/evaluate   designs -> admit -> simulate -> record -> journal -> answer

`task` says what is served, `sessions` keep a ledger for each agent, `journal` makes them survive the process,
`app` is the HTTP face.
"""
