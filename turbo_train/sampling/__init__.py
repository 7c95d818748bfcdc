"""How does noise become a clip? DDIM for teachers, consistency steps for students; noise that no batch changes."""
