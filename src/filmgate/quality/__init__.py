"""What a person looks at: is a result right, how near is it to the truth, how does it look?"""
