import os, socket, threading

TCP, SOCKET = socket.IPPROTO_TCP, socket.SOL_SOCKET

def tried(s, level, name, value):
    try:
        s.setsockopt(level, name, value)
    except OSError:
        pass

def asked_redis():
    s = socket.create_connection(("127.0.0.1", 8063))
    s.setsockopt(TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(TCP, socket.TCP_QUICKACK, 0)
    s.sendall(b"PING\r\n")
    s.recv(64)
    s.close()

s = socket.socket(socket.AF_INET6)
for name, value in (("TCP_KEEPIDLE", 11), ("TCP_KEEPIDLE", 0), ("TCP_MAXSEG", 20), ("TCP_SYNCNT", 2),
                    ("TCP_USER_TIMEOUT", 9000), ("TCP_CORK", 1), ("TCP_CORK", 0), ("TCP_LINGER2", 3)):
    tried(s, TCP, getattr(socket, name), value)
tried(s, TCP, 99, 1)
tried(s, TCP, socket.TCP_CONGESTION, b"reno")
tried(s, TCP, socket.TCP_CONGESTION, b"nosuch")
tried(s, SOCKET, socket.SO_LINGER, b"\1\0\0\0\5\0\0\0")
tried(s, SOCKET, socket.SO_KEEPALIVE, 1)
tried(s, SOCKET, socket.SO_SNDBUF, 30000)
# What is none of TCP's matters, and sockets that are none of TCP's.
tried(s, SOCKET, socket.SO_REUSEADDR, 1)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tried(u, SOCKET, socket.SO_RCVBUF, 30000)
tried(u, TCP, socket.TCP_NODELAY, 1)
tried(socket.socketpair()[0], SOCKET, socket.SO_SNDBUF, 30000)
if os.fork() == 0:
    tried(s, TCP, socket.TCP_NODELAY, 1)
    os._exit(0)
os.wait()
asked_redis()
t = threading.Thread(target=asked_redis)
t.start()
t.join()
