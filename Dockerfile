# One image for every ledgent process: worker, processors, sink, dashboard. Built from the lock file, not run as root.

# (Not slim: where a package has no wheel, as faust on ARM, it is compiled.)
FROM python:3.13-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/ledgent
WORKDIR /src
COPY requirements.lock ./
# The lock file holds what development needs too; what is not asked for stays out, and nothing comes in another version.
# (What builds the package is asked for here by name, so that it is a locked one as well.)
ENV PIP_CONSTRAINT=/src/requirements.lock
RUN /opt/ledgent/bin/pip install --no-cache-dir setuptools
COPY pyproject.toml setup.py README.md LICENSE ./
# Before the code, so that a changed line does not fetch everything again.
RUN /opt/ledgent/bin/pip install --no-cache-dir --no-build-isolation .
COPY schemas schemas
COPY producers producers
COPY processors processors
COPY agent agent
COPY dashboard dashboard
RUN /opt/ledgent/bin/pip install --no-cache-dir --no-build-isolation --no-deps --force-reinstall . \
    && /opt/ledgent/bin/pip check

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /app --shell /usr/sbin/nologin ledgent \
    && install --directory --owner ledgent --group ledgent /var/lib/ledgent
COPY --from=build /opt/ledgent /opt/ledgent
WORKDIR /app
# Agents are found from here; an image of your own adds yours: FROM ledgent, COPY my_agents.py ./
COPY examples examples
# The root file system may be read-only: what is written goes to /tmp (APP_DATADIR is Faust's).
ENV PATH=/opt/ledgent/bin:$PATH HOME=/tmp APP_DATADIR=/tmp/faust PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["ledgent"]
CMD ["--help"]
