FROM rust:1.95-bookworm AS build
WORKDIR /build

# Build the dependencies first, with empty sources: this layer is rebuilt only when Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

COPY assets assets
COPY schema schema
COPY src src
# Cargo compares file times, and the copied sources may be older than the build of the empty ones.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

# The same Debian release as the build stage, because the binary links to its libc. It has no other dependencies.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="dmwire" \
      org.opencontainers.image.description="A self-hosted direct-messaging server with a typed JSON protocol over WebSocket" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# The uid is fixed so that a host folder can be prepared for it: chown 10001:10001.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin dmwire \
    && install -d -o dmwire -g dmwire -m 0750 /data
COPY --from=build /build/target/release/dmwire /usr/local/bin/dmwire

# Numeric, so that an orchestrator that forbids root can check it.
USER 10001:10001
# The default store (dmwire.db) and an optional dmwire.toml are in the working directory. The volume is declared after its
# owner is set, because later changes to a volume are discarded.
WORKDIR /data
VOLUME /data

# A container's loopback address cannot be published, so listen on all addresses. Without authentication settings dmwire then
# generates a secret in /data, requires tokens, and prints two sign-in links. DMWIRE_OPEN is not set on purpose: turning
# authentication off is the operator's decision.
# This is a variable and not an argument of the entry point because the health check reads it too.
ENV DMWIRE_LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# The command itself times out after 3 s for connecting and 3 s for the response.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["dmwire", "healthcheck"]
ENTRYPOINT ["dmwire"]
