import os
import signal
import socket
import time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", 8084))
while True:
    client, _ = listener.accept()
    if os.fork() != 0:
        client.close()
        continue
    with open("/proc/self/comm", "w") as name:
        name.write("worker")
    # One that only looks whether somebody listens says nothing.
    if client.recv(4096):
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\na page\n")
        client.recv(1)
        time.sleep(0.005)
    os._exit(0)
