# Stands in for the image apache/airflow where no registry of images can be reached: the same user, group, folders,
# entrypoint and providers that docker/Dockerfile and docker-compose.yaml count on, on Debian's own Python.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

# What the machine that builds needs to reach its package registries: certificates, and pip's and apt's settings.
COPY host/ /
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl dumb-init python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
# Once more: the package ca-certificates has put its own file there.
COPY host/ /

RUN useradd --uid 50000 --gid 0 --home-dir /home/airflow --create-home --shell /bin/bash airflow \
    && mkdir -p /opt/airflow \
    && chown airflow:0 /opt/airflow \
    && chmod g+rwx /home/airflow /opt/airflow

USER airflow
WORKDIR /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW_USER_HOME_DIR=/home/airflow \
    PATH=/home/airflow/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
COPY constraints.txt /home/airflow/constraints.txt
RUN python3 -m venv /home/airflow/.venv \
    && pip install --no-cache-dir --disable-pip-version-check --constraint /home/airflow/constraints.txt \
        apache-airflow \
        "apache-airflow-providers-amazon[s3fs]" \
        apache-airflow-providers-celery \
        apache-airflow-providers-common-compat \
        apache-airflow-providers-http \
        apache-airflow-providers-postgres \
        apache-airflow-providers-redis

COPY airflow-entrypoint.sh /entrypoint
ENTRYPOINT ["/usr/bin/dumb-init", "--", "/bin/bash", "/entrypoint"]
