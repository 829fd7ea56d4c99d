# The app alone: `serve` (collector and admin REST) and `run` (engine and delivery). Kafka and Redis are elsewhere.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY src ./src
RUN python -m venv /opt/actionmap && /opt/actionmap/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.13-slim
RUN useradd --system --uid 10001 actionmap
COPY --from=build /opt/actionmap /opt/actionmap
COPY rules /rules
ENV PATH=/opt/actionmap/bin:$PATH ACTIONMAP_HOST=0.0.0.0 ACTIONMAP_LOG_FORMAT=json
USER actionmap
EXPOSE 8080 9464
ENTRYPOINT ["actionmap"]
CMD ["serve"]
