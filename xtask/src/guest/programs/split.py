import socket
s = socket.create_connection(("127.0.0.1", 8080))
for _ in range(20):
    s.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n")
    s.sendall(b"x" * 300)
    s.recv(4096)
s.close()
