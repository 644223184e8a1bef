/*
 * Preloaded into the server: resolves names that end with ".example" as a test wants, and connects the public address 8.8.8.8 to this
 * machine.
 *
 * REDIRECTED_ADDRESSES_FILE names a file with the address of all these names. It is read at each lookup, so that a test can change it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    const char *end = node ? strrchr(node, '.') : NULL;
    if (!end || strcmp(end, ".example") != 0)
        return real(node, service, hints, found);
    const char *path = getenv("REDIRECTED_ADDRESSES_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char address[64];
    int read = file && fscanf(file, "%63s", address) == 1;
    if (file)
        fclose(file);
    return read ? real(address, service, hints, found) : EAI_NONAME;
}

int connect(int socket, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in redirected;
    if (address->sa_family == AF_INET && length >= sizeof redirected) {
        memcpy(&redirected, address, sizeof redirected);
        if (redirected.sin_addr.s_addr == htonl(0x08080808)) {
            redirected.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            return real(socket, (struct sockaddr *)&redirected, sizeof redirected);
        }
    }
    return real(socket, address, length);
}
