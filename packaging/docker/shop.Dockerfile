# syntax=docker/dockerfile:1
# An application of yours on the image of Dockerfile; copy this to its repository, beside wsgi.py and requirements.txt.
#
# In its .dockerignore, at least: .git, .venv, **/__pycache__, .env and whatever else is secret.

FROM miniwsgi
# Code and packages belong to root: what runs cannot change them.
USER 0:0
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.txt && rm /tmp/requirements.txt
COPY . /srv/app
RUN python -m compileall -q /srv/app
USER 10001:10001
# Fails the build if the configuration is wrong or the application cannot be imported. What it needs to know comes from
# the environment at run time: drop this if it cannot be imported without.
RUN miniwsgi check
