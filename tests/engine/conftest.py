import sys
from pathlib import Path

# Worker processes import the functions they run by name; the path travels to them with the job.
sys.path.insert(0, str(Path(__file__).parent))
