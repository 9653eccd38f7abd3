# revet as an image: every command and process of both modes, no compiler, no pip, not root. Its root file system can be
# read-only, and neither entry point nor health checks need a shell.
#
# Every package is pinned by version and hash (requirements/cluster.txt) and comes from the index that pip in the build is
# configured for; after the step `wheels` nothing touches a network. For the same bytes again, name the base by digest:
#   docker build --build-arg BASE=python:3.13-slim@sha256:... .
ARG BASE=python:3.13-slim

# ---- build: everything into one folder
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1
WORKDIR /src

COPY scripts/image.sh scripts/
COPY requirements/ requirements/
RUN ["scripts/image.sh", "wheels", "/wheels"]

COPY pyproject.toml LICENSE ./
COPY verifier/ verifier/
COPY alerting/ alerting/
COPY streams/ streams/
COPY dashboards/ dashboards/
RUN ["scripts/image.sh", "tree", "/wheels", "/opt/revet"]
RUN ["mkdir", "-p", "/own/data", "/own/evidence", "/own/etc/revet"]

# ---- run
FROM ${BASE}
COPY --from=build /opt/revet /opt/revet
# State, fetched evidence, settings: a volume that is mounted there takes over whom the folder belongs to.
COPY --from=build --chown=65532:65532 /own/data /data
COPY --from=build --chown=65532:65532 /own/evidence /evidence
COPY --from=build --chown=65532:65532 /own/etc/revet /etc/revet
ENV PATH=/opt/revet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9880 9890
# The single-machine mode, unless told otherwise. Inside a container, 0.0.0.0 is the container's own network;
# docker-compose.yml publishes it on loopback only.
ENTRYPOINT ["revet"]
CMD ["run", "--listen", "0.0.0.0:9880", "--state", "/data/revet.sqlite"]
