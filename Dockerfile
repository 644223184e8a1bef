FROM rust:1.95-bookworm AS build
WORKDIR /build

# The dependencies first, against empty sources: they are built again only when Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

COPY assets assets
COPY schema schema
COPY src src
# Cargo goes by file times, and what was just copied may be older than what was built from the empty sources.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

# The same Debian release as above, because the binary is linked with its libc. It needs nothing else.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="dmwire" \
      org.opencontainers.image.description="A self-hosted direct-messaging server with a typed JSON protocol over WebSocket" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# The uid is fixed, so that a folder of the host can be given to it: chown 10001:10001.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin dmwire \
    && install -d -o dmwire -g dmwire -m 0750 /data
COPY --from=build /build/target/release/dmwire /usr/local/bin/dmwire

# By number: an orchestrator that forbids root can check it.
USER 10001:10001
# The default store, dmwire.db, and a dmwire.toml, if there is one, lie in the working directory. The volume is declared
# after its owner is set, as later changes to it would be lost.
WORKDIR /data
VOLUME /data

# A container's loopback cannot be published. As nothing is said of authentication, dmwire makes a secret in /data, asks for
# tokens of it, and prints two links to begin with. DMWIRE_OPEN is left out on purpose: that everybody may read and write is
# for whoever runs the image to say.
# A variable, not an argument of the entry point: the health check goes by it, and would not see an argument.
ENV DMWIRE_LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# The command gives up by itself after 3 s to connect and 3 s to be answered.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["dmwire", "healthcheck"]
ENTRYPOINT ["dmwire"]
