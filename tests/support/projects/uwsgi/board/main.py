import os

from flask import Flask, request, url_for
from texts import GREETING

app = Flask(__name__)


@app.get("/")
def index():
    return f"{GREETING} {os.environ['BOARD_MODE']} {request.script_root} {url_for('post', number=3)} {request.scheme}"


@app.get("/post/<int:number>")
def post(number):
    return f"post {number} from {request.remote_addr}"
