"""What `make stack-test` needs of Docker: an engine, base images, and the stack of docker-compose.yaml."""
