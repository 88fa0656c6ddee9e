# syntax=docker/dockerfile:1
# Build: everything that the build needs stays here.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY deploy/precompile.mjs deploy/bundle.mjs deploy/undici.cjs ./deploy/
RUN npm run build && npm prune --omit=dev --ignore-scripts

# Run: Node, the runtime tree and the compiled program. Nothing is written but to mounted paths,
# so the root file system can be read-only.
FROM node:24-slim
ENV NODE_ENV=production NODE_OPTIONS=--max-semi-space-size=16 MALLOC_ARENA_MAX=1
WORKDIR /app
COPY --from=build --chown=root:root /app/package.json ./
COPY --from=build --chown=root:root /app/node_modules ./node_modules
COPY --from=build --chown=root:root /app/dist ./dist
COPY --chown=root:root policies ./policies
USER 1000:1000
EXPOSE 8443 9443
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
  CMD ["node", "dist/main.js", "health"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve", "-c", "/etc/narrowgate/narrowgate.yaml"]
