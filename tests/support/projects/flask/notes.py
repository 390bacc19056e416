import os

from flask import Flask, jsonify, request


def create_app(prefix, debug):
    app = Flask(__name__)
    app.debug = debug
    notes = []

    @app.get(f"{prefix}/")
    def index():
        return jsonify(url=request.base_url, mode=os.environ["NOTES_MODE"])

    @app.post(f"{prefix}/")
    def add():
        notes.append(request.get_json()["text"])
        return jsonify(added=notes[-1]), 201

    @app.get(f"{prefix}/stream")
    def stream():
        return app.response_class((part for part in ("a", "b", "c")), mimetype="text/plain")

    @app.get(f"{prefix}/fails")
    def fails():
        raise RuntimeError("on purpose")

    return app
