# The single-machine mode as an image: one process, one SQLite file under /data, no compiler, no pip cache, not root.
# Packages come from the index that pip in the build is configured for; each is checked against requirements/*.txt by hash.

# ---- build: everything into one folder
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src

COPY requirements/ requirements/
RUN python -m venv /opt/revet \
    && /opt/revet/bin/python -m pip install --require-hashes -r requirements/run.txt \
    && python -m venv /opt/backend \
    && /opt/backend/bin/python -m pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml LICENSE ./
COPY verifier/ verifier/
COPY alerting/ alerting/
COPY streams/ streams/
COPY dashboards/ dashboards/
RUN /opt/backend/bin/python -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/revet/bin/python -m pip install --no-index --no-deps /wheels/revet-*.whl \
    && /opt/revet/bin/python -m pip uninstall --yes pip \
    && mkdir /data

# ---- run
FROM python:3.13-slim
COPY --from=build /opt/revet /opt/revet
COPY --from=build --chown=65532:65532 /data /data
ENV PATH=/opt/revet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9880
# Inside a container, 0.0.0.0 is the container's own network; docker-compose.yml publishes it on loopback only.
ENTRYPOINT ["revet"]
CMD ["run", "--listen", "0.0.0.0:9880", "--state", "/data/revet.sqlite"]
