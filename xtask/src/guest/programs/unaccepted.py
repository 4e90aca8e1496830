import socket
import time
listener = socket.create_server(("127.0.0.1", 8085))
c = socket.create_connection(("127.0.0.1", 8085))
c.sendall(b"hello")
time.sleep(0.05)
listener.close()
try:
    c.recv(1)
except ConnectionResetError:
    print("no page", flush=True)
time.sleep(0.05)
c.close()
