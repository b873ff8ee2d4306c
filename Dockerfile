# spkver on a CPU, as a non-root user. The image contains the packaged model.
#
#   docker build -t spkver .
#   docker run --rm -v "$PWD:/data:ro" spkver verify a.wav b.wav
#
# For commands that write, omit :ro and add your own user: --user "$(id -u):$(id -g)".

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY spkver spkver
COPY data_prep data_prep
RUN python -m venv /opt/spkver && \
    /opt/spkver/bin/pip install --no-cache-dir --disable-pip-version-check \
    --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt .

FROM python:3.12-slim
COPY --from=build /opt/spkver /opt/spkver
RUN useradd --create-home --uid 1000 spkver
USER 1000
# the speaker book is in the mounted folder, so it is kept when the container is removed
ENV PATH=/opt/spkver/bin:$PATH XDG_DATA_HOME=/data
WORKDIR /data
ENTRYPOINT ["spkver"]
CMD ["--help"]
