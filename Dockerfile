# An image that serves: docker build -t fakelab .   (how to run it: docs/how-to/serve.md)
FROM python:3.12-slim
WORKDIR /opt/fakelab
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY fakecore fakecore
COPY fakegen fakegen
COPY fakedetect fakedetect
COPY fakelab fakelab
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve]' \
    && useradd --uid 10001 --create-home fakelab \
    && install -d -o fakelab /data
USER fakelab
# Matplotlib and torch keep caches: in memory, since the file system may be read-only.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib FAKELAB_CACHE=/tmp/cache
WORKDIR /tmp
EXPOSE 8000
VOLUME /data
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]
ENTRYPOINT ["fakelab"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data", "--token-file", "/tokens.txt"]
