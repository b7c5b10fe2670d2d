# Stands in for the image redis where no registry of images can be reached.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY host/ /
RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
WORKDIR /data
CMD ["redis-server"]
