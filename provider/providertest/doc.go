// Package providertest proves a provider: Run calls it as the coordinator would, and as the coordinator never should, and
// looks at what is left in its storage each time. Memory is a provider in memory that passes, for tests of those who call
// providers; Socket puts any provider behind a socket, so that the same suite proves it as a process of its own.
package providertest
