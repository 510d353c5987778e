# A static-as-possible pgweir in a small image that has no shell script and does not run as root.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --bin pgweir

FROM debian:bookworm-slim
COPY --from=build /src/target/release/pgweir /usr/local/bin/pgweir
USER 65532:65532
EXPOSE 6432 9127
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/pgweir", "--health", "127.0.0.1:9127"]
ENTRYPOINT ["/usr/local/bin/pgweir"]
CMD ["/etc/pgweir/pgweir.toml"]
