# docker build -f packaging/docker/server.Dockerfile -t stip-server .
# The first stage is the same for the three roles, so that it is built once.
FROM debian:12 AS build
WORKDIR /src
COPY scripts/install-deps.sh scripts/
RUN scripts/install-deps.sh
COPY . .
RUN cmake --preset release -DSTIP_TESTS=OFF && cmake --build --preset release
RUN cd build && cpack -G DEB

FROM debian:12-slim
COPY --from=build /src/build/deb/stip-server_*.deb /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/stip-server_*.deb && rm -rf /tmp/*.deb /var/lib/apt/lists/*
USER 1000:1000
WORKDIR /party
ENTRYPOINT ["stip-server"]
