# The image of the operator and of the gateway. Build it from the repository's root: docker build --tag contentgen-operator .
ARG BASE_IMAGE=python:3.13-slim
FROM ${BASE_IMAGE}

# Dependencies first: they change rarely.
COPY requirements/operator.txt /tmp/requirements.txt
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes --requirement /tmp/requirements.txt \
    && /opt/venv/bin/python3 -m compileall -q /opt/venv/lib \
    && rm /tmp/requirements.txt

COPY operator/contentgen_contract /opt/contentgen/contentgen_contract
COPY operator/contentgen_runtime /opt/contentgen/contentgen_runtime
COPY operator/contentgen_operator /opt/contentgen/contentgen_operator
COPY operator/contentgen_gateway /opt/contentgen/contentgen_gateway
# The root filesystem is read-only when it runs, so the byte code is made here.
RUN /opt/venv/bin/python3 -m compileall -q /opt/contentgen
# For `kubectl exec`: contentgen backup, restore, import.
RUN printf '#!/bin/sh\nexec python3 -m contentgen_gateway.migration.commands "$@"\n' > /opt/venv/bin/contentgen \
    && chmod 755 /opt/venv/bin/contentgen

# The user may be any (OpenShift): files are readable by all, and nothing is written but in /tmp, a volume. kopf asks for
# the name of its user, who has none.
ENV LOGNAME=contentgen
ENV PYTHONPATH=/opt/contentgen \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

USER 65532:65532
ENTRYPOINT ["python3", "-m", "contentgen_operator"]
