# The image of the operator and of the gateway. Build it from the repository's root: docker build --tag contentgen-operator .
# The first stage writes the files that `python -m contentgen_cluster images` ships: Debian packages and wheels, locked by
# version and hash in requirements/, and ours. Nothing of its own base image is among them, so that may be any.
ARG BUILDER=python:3.11-slim-bookworm
FROM ${BUILDER} AS build
WORKDIR /build
COPY requirements/uv.txt requirements/uv.txt
RUN python3 -m pip install --no-cache-dir --require-hashes --requirement requirements/uv.txt
COPY requirements/base.lock requirements/operator.txt requirements/
COPY LICENSE THIRD-PARTY-NOTICES.txt ./
COPY cluster/contentgen_cluster cluster/contentgen_cluster
COPY operator/contentgen_contract operator/contentgen_contract
COPY operator/contentgen_runtime operator/contentgen_runtime
COPY operator/contentgen_operator operator/contentgen_operator
COPY operator/contentgen_gateway operator/contentgen_gateway
RUN PYTHONPATH=cluster python3 -m contentgen_cluster.images operator /image

FROM scratch
COPY --from=build /image/ /
ARG VERSION=0.1.0
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="contentgen-operator" \
    org.opencontainers.image.description="Operator and gateway of contentgen" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED" \
    org.opencontainers.image.source="$SOURCE" \
    org.opencontainers.image.licenses="Apache-2.0"
# The user may be any (OpenShift): files are readable by all, and nothing is written but in /tmp, a volume. kopf asks for
# the name of its user, who has none.
ENV HOME=/tmp \
    LOGNAME=contentgen \
    PATH=/usr/local/bin:/usr/bin \
    LANG=C.UTF-8 \
    PYTHONPATH=/opt/contentgen \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

USER 65532:65532
ENTRYPOINT ["python3", "-m", "contentgen_operator"]
