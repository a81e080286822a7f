"""One real gunicorn service, several log handlers, every line counted. Run it with `python -m demo.run`."""
